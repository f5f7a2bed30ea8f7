"""The contact reader: from the words of a contact to its labels."""
