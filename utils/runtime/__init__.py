"""How the plugin runs: one background loop, lanes with guards, hops to where blocking code may block."""
