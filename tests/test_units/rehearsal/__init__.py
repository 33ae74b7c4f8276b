from tests import load_folder

load_tests = load_folder(__file__)
