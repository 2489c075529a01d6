"""What the operator wants: one verdict a phase (request, response, deliver). Pure."""
