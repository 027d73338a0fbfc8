"""Dreams of many clips on several GPUs and hosts.

plan (clip -> segments) -> work (one segment -> one part, on one worker) -> join (parts -> output, with the sound).
`engine` runs these on Ray; they know nothing of it. What a worker has done is in the working record of its part, so
that another one goes on from there, and progress is read from the records.
"""
