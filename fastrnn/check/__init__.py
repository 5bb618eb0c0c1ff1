"""All validation of callers' arguments. Errors name the argument, what was expected and what was found."""
