"""How many steps does each optimizer need on functions of two numbers?"""
