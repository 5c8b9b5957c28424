def families():
    return []


def check(name):
    raise NotImplementedError
