"""The wire: messages, their fields, parsing and writing. No I/O, no clock."""
