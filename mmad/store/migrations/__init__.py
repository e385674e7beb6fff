"""How a database comes to the newest schema, step by step."""
