"""All validation of what callers hand in. Errors name the argument, what was expected and what was found."""
