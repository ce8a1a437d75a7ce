from accord.mapping import function


@function(example="half(4) == 2")
def half(number):  # PLANTED mapping.function half
    """Half of a number."""
    return number // 2
