"""A request's way: the only place where the wire, the rules, the store and the origins meet."""
