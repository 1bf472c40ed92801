"""What the rooms above share: names and checks of objects that run none of their code, maps by class, the switches."""
