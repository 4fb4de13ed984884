"""Labels of features: files of every form, search in a million, the user's own."""
