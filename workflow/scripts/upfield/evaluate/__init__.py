"""Evaluation of the test participants: metrics, tissues, audits, statistics, and the tables made of them."""
