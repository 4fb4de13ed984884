"""LabelCheck: people judge labels of features on texts, and see how true they are."""
