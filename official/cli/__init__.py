"""What commands share: arguments, the flag of the recipe, quiet libraries, the status line, subprocesses."""
