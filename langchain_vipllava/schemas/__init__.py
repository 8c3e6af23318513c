"""JSON schemas: what users write for the form of an answer, in one dialect and within what a program can use."""
