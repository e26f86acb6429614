"""Documents that users write, in YAML or JSON: read without surprises (`text`), split (`document`), and taken apart field by
field, so that whatever is wrong is told with its place (`field`)."""
