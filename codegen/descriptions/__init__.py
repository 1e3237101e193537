"""The API descriptions in specs/ and the signatures of hand-written code, read and checked."""
