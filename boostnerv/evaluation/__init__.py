"""Quality and rate of decoded videos, classical codecs to compare with, and the table of all points."""
