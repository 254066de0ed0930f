def ranger_adabelief():
    pass
