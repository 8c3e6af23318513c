"""What happens in the situations that LangChain users get into: each row of the page is a test here."""
