"""What the code computes, as an identity that comments and refactorings leave as it is."""
