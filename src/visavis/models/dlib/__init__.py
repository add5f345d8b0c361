"""dlib's networks and landmark forests."""
