"""What is handed out: the plugin's package, and the packages that bring their wheels along."""
