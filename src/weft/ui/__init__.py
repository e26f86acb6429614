"""The page that shows the cluster in a browser."""
