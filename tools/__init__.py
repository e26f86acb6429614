"""What makes the documents: the reference out of the code, the site's navigation, the pictures of terminals."""
