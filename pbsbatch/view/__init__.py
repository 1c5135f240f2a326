"""`pbsbatch view`: a run's slides in a browser on this machine, with their cells. It writes nothing.

Law: nothing but slide ids of the run reaches the file system, and nothing is fetched from anywhere else.
"""
