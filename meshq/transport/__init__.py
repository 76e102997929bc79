"""Sockets, the poller loop, discovery and CURVE keys: how frames travel, and nothing about what they mean.

A message is a list of frames. What is in them is ``protocol``'s affair, whom to send them to is policy, and
both live elsewhere.
"""
