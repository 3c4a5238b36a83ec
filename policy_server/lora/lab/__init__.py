"""The student-teacher laboratory of low-rank fine-tuning: when does gradient descent find a rank-one change of a network?"""
