"""Commands for what is kept of people: how long, handing it out, holding it, destroying it."""
