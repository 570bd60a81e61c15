"""The services that identity asks, as typed calls that take and give plain data. Only these files know protobuf.

An enumeration value that is not known becomes the stricter reading, or `unavailable` where there is none: an answer
that cannot be understood never counts as a yes (A34).
"""
