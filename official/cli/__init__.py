"""What commands share: arguments, the recipe's flag, quiet libraries, the status line, child processes."""
