"""Does training on many hosts, killed and resumed, lose anything?"""
