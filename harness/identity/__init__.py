"""What the code computes, as an identity that comments and refactorings leave as it is.

`code` finds and digests the code that a stage can reach; `known` says which digests are proven to compute the same.
"""
