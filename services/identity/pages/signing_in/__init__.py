"""How somebody comes in: the door, the code, and the ways out for whoever is stuck."""
