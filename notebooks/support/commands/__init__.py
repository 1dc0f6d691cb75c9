"""What the shell and the graph call; nothing else imports them."""
