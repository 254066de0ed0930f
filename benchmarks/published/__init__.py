"""What do long trainings say that others have run and published?"""
