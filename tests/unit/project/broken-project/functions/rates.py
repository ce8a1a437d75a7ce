from accord.mapping import function


@function(example="half(4) == 2")  # PLANTED mapping.function-type half
def half(number):
    """Half of a number."""
    return number // 2
