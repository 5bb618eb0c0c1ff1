from .models.io import *
