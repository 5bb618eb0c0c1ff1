from .models.text import *
