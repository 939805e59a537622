"""From numbers to integer codes and back."""
