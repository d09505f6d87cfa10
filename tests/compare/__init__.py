"""The same accidents on this package and on the published 0.5.1b2, by the calls that both have."""
