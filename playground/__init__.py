"""What ``make demo`` and the tests start around the plugin: a database, a model endpoint, Dify's side of stdio."""
