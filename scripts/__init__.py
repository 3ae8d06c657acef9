"""Commands for whoever works on the plugin or moves to it. Not packed."""
