"""The command line: `hacoord` and its subcommands, and the demonstration."""
