"""The audit of a data set: everything that is wrong or suspicious in it, found before anything is trained on it."""
