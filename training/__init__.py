"""One recipe a model: data in public layouts -> weights + card + figures. Nothing imports this room."""
