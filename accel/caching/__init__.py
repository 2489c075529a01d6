"""RFC 9111's rules as pure functions: `now` is a parameter, nothing is read or sent here."""
