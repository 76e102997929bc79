"""Control: commands to many nodes at once, their replies, and the table of what nodes carry out."""
