"""Acts where they are made: questions, answers that survive a dead battery, the folder of acts, the printed page."""
