"""Which messages are found by which words: what is indexed of an event, and what is looked for."""
