"""How fast this code is. One command a question; README.md beside it has the answers."""
